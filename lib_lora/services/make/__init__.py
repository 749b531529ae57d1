"""From pictures to a finished, measured LoRA in one order: every step kept, so that it can be stopped and go on."""
