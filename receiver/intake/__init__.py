"""From a request's body to rows: decode, select, drop."""
