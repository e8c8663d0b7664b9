"""R3GAN (Huang et al. 2024, "The GAN is dead; long live the GAN!"): a relativistic GAN with R1 and R2 on a plain ResNet."""
