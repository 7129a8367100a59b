"""What has been counted in a stream, which expert expects what, and how the experts are mixed with the network."""
