"""A PaddlePaddle application that trains, evaluates and uses a recogniser of handwritten digits."""
