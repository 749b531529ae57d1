"""The Stable Diffusion WebUI (A1111 1.10.1, Forge family) as a host; the only room that knows ``modules.*``."""
