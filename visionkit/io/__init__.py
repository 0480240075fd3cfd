"""Pictures and video: in, out, drawn upon."""
