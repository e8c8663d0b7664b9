"""BigGAN-deep: BigGAN with bottleneck blocks, four times as deep (Brock et al. 2018, appendix B)."""
