"""Settings as people have them, for the tests that read them."""

from __future__ import annotations

RECIPE = """
[model]
pretrained_model_name_or_path = "m.safetensors"
[net]
network_module = "networks.lora"
network_dim = 16
network_alpha = 1
network_args = ["conv_dim=8", "conv_alpha=2", "dance_dims=1"]
[rates]
optimizer_type = "adamw8bit"
optimizer_args = ["weight_decay=0.1", "betas=0.9,0.99"]
learning_rate = 1e-4
text_encoder_lr = 5e-5
lr_scheduler = "cosine_with_min_lr"
lr_scheduler_min_lr_ratio = 0.1
lr_warmup_steps = 100
[rest]
train_data_dir = "data"
output_name = "krnk"
resolution = "512,768"
enable_bucket = true
bucket_no_upscale = true
max_train_epochs = 10
train_batch_size = 2
shuffle_caption = true
keep_tokens = 2
enable_wildcard = true
caption_dropout_rate = 0.1
max_token_length = 225
noise_offset = 0.05
min_snr_gamma = 5
mixed_precision = "bf16"
network_dance = 3
seed = 42
"""
