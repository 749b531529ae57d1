"""Pictures, captions, tags, buckets and folders: everything about a data set that needs no model."""
