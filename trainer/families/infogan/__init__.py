"""InfoGAN (Chen et al. 2016): codes in the latent that Q reads back from the image."""
