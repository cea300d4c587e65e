"""Response schemas of the API, by resource."""
