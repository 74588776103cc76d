"""Other servers, with a model of the same shape: llama.cpp's and Foundry Local's."""
