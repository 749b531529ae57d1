"""Names of the hosts that our code reaches through objects, where no import shows them: listed by hand.

Whoever uses a new one adds a line here; test_contracts.py looks for it in real sources.
"""

from __future__ import annotations

from tests.webui.contracts import Call, Use

ALL = frozenset({"a1111", "forge", "reforge"})
A, F, R = frozenset({"a1111"}), frozenset({"forge"}), frozenset({"reforge"})


def each(file: str, module: str, owner: str, names: str, kinds: frozenset[str] = ALL) -> list[Use]:
    """Return a use for each name of a class, or of a module where ``owner`` is empty."""
    before = (owner,) if owner else ()
    return [Use(f"lib_lora/host/webui/{file}", 0, module, (*before, name), None, kinds) for name in names.split()]


REACHED: tuple[Use, ...] = (
    # the X/Y/Z plot's module, found in scripts.scripts_data
    *each("axes.py", "scripts.xyz_grid", "", "axis_options AxisOption"),
    Use(
        "lib_lora/host/webui/axes.py",
        0,
        "scripts.xyz_grid",
        ("AxisOption",),
        Call(3, ("format_value", "confirm", "cost", "choices", "prepare"), False),
    ),
    # a generation of ours: fields of the order, and what comes back
    *each("generating.py", "modules.processing", "p", "prompt negative_prompt styles seed subseed subseed_strength"),
    *each("generating.py", "modules.processing", "p", "sampler_name scheduler batch_size n_iter steps cfg_scale width"),
    *each("generating.py", "modules.processing", "p", "height do_not_save_samples do_not_save_grid override_settings"),
    *each("generating.py", "modules.processing", "p", "override_settings_restore_afterwards init_images close scripts"),
    *each("generating.py", "modules.processing", "p", "denoising_strength script_args is_api cached_c cached_uc"),
    *each("generating.py", "modules.processing", "p", "cached_hr_c cached_hr_uc extra_generation_params comment"),
    *each("generating.py", "modules.processing", "Processed", "images infotexts comments index_of_first_image"),
    Use("lib_lora/host/webui/generating.py", 0, "modules.scripts", ("ScriptRunner",), Call(0, (), False)),
    # the sampler's step
    *each("attachments.py", "modules.script_callbacks", "CFGDenoiserParams", "denoiser", A | F),
    *each("attachments.py", "modules.sd_samplers_cfg_denoiser", "CFGDenoiser", "p step sampler"),
    *each("samplers.py", "modules.sd_samplers_common", "Sampler", "config"),
    *each("samplers.py", "modules.sd_schedulers", "Scheduler", "name label"),
    # tags and files
    *each("activator.py", "modules.extra_networks", "ExtraNetwork", "name activate deactivate"),
    *each("tags.py", "modules.extra_networks", "ExtraNetworkParams", "items positional named"),
    *each("hashes.py", "network", "NetworkOnDisk", "name filename alias metadata shorthash read_hash"),
    *each("lora_list.py", "networks", "", "available_networks available_network_aliases forbidden_network_aliases"),
    *each("lora_list.py", "networks", "", "update_available_networks_by_names list_available_networks loaded_networks"),
    *each("attachments.py", "networks", "", "network_apply_weights network_restore_weights_from_backup", A),
    # Forge's model
    *each("forge.py", "backend.diffusion_engine.base", "ForgeObjects", "unet clip vae shallow_copy", F),
    *each(
        "forge.py", "backend.diffusion_engine.base", "ForgeDiffusionEngine", "forge_objects forge_objects_original", F
    ),
    *each("forge.py", "backend.diffusion_engine.base", "ForgeDiffusionEngine", "current_lora_hash model_config", F),
    *each("forge.py", "backend.diffusion_engine.base", "ForgeDiffusionEngine", "forge_objects_after_applying_lora", F),
    *each("forge.py", "backend.patcher.base", "ModelPatcher", "model clone lora_patches lora_loader refresh_loras", F),
    *each("forge.py", "backend.patcher.lora", "LoraLoader", "loaded_hash refresh", F),
    *each("forge.py", "backend.text_processing.classic_engine", "ClassicTextProcessingEngine", "tokenize id_start", F),
    *each("forge.py", "backend.text_processing.classic_engine", "ClassicTextProcessingEngine", "id_end id_pad", F),
    *each("forge.py", "backend.text_processing.classic_engine", "ClassicTextProcessingEngine", "embeddings", F),
    *each("forge.py", "backend.text_processing.classic_engine", "ClassicTextProcessingEngine", "text_encoder", F),
    *each("forge.py", "backend.text_processing.classic_engine", "ClassicTextProcessingEngine", "minimal_clip_skip", F),
    *each("forge.py", "backend.text_processing.classic_engine", "ClassicTextProcessingEngine", "final_layer_norm", F),
    *each("forge.py", "backend.text_processing.classic_engine", "ClassicTextProcessingEngine", "return_pooled", F),
    *each("forge.py", "backend.text_processing.classic_engine", "ClassicTextProcessingEngine", "text_projection", F),
    *each("forge.py", "backend.text_processing.classic_engine", "ClassicTextProcessingEngine", "embedding_key", F),
    # the noise schedule that pictures are sampled on
    *each("parts.py", "modules.shared", "opts", "sd_noise_schedule"),
    # A1111's text encoder
    *each("a1111.py", "modules.sd_hijack_clip", "TextConditionalModel", "tokenize id_start id_end id_pad", A),
)
