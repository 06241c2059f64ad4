"""What a GPU does with Stable Diffusion's shapes, in one command: python -m scripts.bench_gpu."""
