"""What people do with a predictor: score, generate, compress, watch, train."""
