"""BigGAN: large-scale class-conditional residual nets (Brock et al. 2018)."""
