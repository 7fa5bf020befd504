"""From images, texts and arrays to latents, in the order of the data.

inputs -> images -> batches -> running -> latents; torch_modules, precision and caching are what they call on. Torch, CuPy and
Pillow are optional: nothing here imports them before they are needed.
"""
