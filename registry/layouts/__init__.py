"""What tools leave on a disk: Foundry caches, the Hugging Face cache, Olive, model packages, plain exports."""
