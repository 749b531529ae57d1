"""Pictures of ours through the host's own txt2img and img2img."""
