"""Conditional GAN (Mirza & Osindero 2014): z and the label enter G and D through branches of their own."""
