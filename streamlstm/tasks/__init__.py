"""What people do with a predictor: score, generate, complete, compress, train."""
