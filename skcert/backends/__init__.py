"""Arrays of other libraries, and devices."""
