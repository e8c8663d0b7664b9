"""BiGAN (Donahue et al. 2017): an encoder E beside G, and a D that judges pairs (x, z); with the paper's latent regressors."""
