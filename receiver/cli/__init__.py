"""What a person types: a file for each verb."""
