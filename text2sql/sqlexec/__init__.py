"""Running SQL that nobody vouches for, and deciding whether two queries give the same answer."""
