"""Generated from proto/ by `make proto`; a test holds the two together. Edit the .proto files."""
