"""Scripts of a checkout; a wheel holds none of them."""
