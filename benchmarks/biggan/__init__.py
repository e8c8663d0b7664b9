"""BigGAN's step in the plain form and in ours."""
