"""Names of the hosts that our code reaches where neither an import nor a stand-in shows them: listed by hand.

Whoever uses a new one adds a line here; test_contracts.py looks for it in real sources.
"""

from __future__ import annotations

from tests.webui.contracts import Call, Use

ALL = frozenset({"a1111", "forge", "neo", "reforge"})
F = frozenset({"forge"})
NEO = frozenset({"neo"})


def each(file: str, module: str, owner: str, names: str, kinds: frozenset[str] = ALL) -> list[Use]:
    """Return a use for each name of a class, or of a module where ``owner`` is empty."""
    before = (owner,) if owner else ()
    return [Use(f"lib_lora/host/webui/{file}", 0, module, (*before, name), None, kinds) for name in names.split()]


REACHED: tuple[Use, ...] = (
    # an axis of the X/Y/Z plot
    Use(
        "lib_lora/host/webui/axes/plot.py",
        0,
        "scripts.xyz_grid",
        ("AxisOption",),
        Call(3, ("format_value", "confirm", "cost", "choices", "prepare"), False),
    ),
    # an order of ours: fields that only some kinds of orders have, and those that are given by name
    *each(
        "render/pictures.py", "modules.processing", "p", "negative_prompt seed subseed subseed_strength sampler_name"
    ),
    *each(
        "render/pictures.py", "modules.processing", "p", "scheduler n_iter cfg_scale width height do_not_save_samples"
    ),
    *each("render/pictures.py", "modules.processing", "p", "do_not_save_grid override_settings_restore_afterwards"),
    *each("render/pictures.py", "modules.processing", "p", "init_images scripts denoising_strength script_args is_api"),
    *each("render/pictures.py", "modules.processing", "p", "cached_c cached_uc cached_hr_c cached_hr_uc comment"),
    Use("lib_lora/host/webui/render/pictures.py", 0, "modules.scripts", ("ScriptRunner",), Call(0, (), False)),
    *each("prompt/activator.py", "modules.processing", "p", "all_hr_prompts all_hr_negative_prompts"),
    *each("prompt/conditioning.py", "modules.processing", "p", "hr_extra_network_data"),
    *each("axes/changes.py", "modules.processing", "p", "hr_prompt"),
    *each("render/samplers.py", "modules.sd_schedulers", "Scheduler", "name label"),
    *each("lora_list.py", "networks", "", "update_available_networks_by_names"),
    # Forge's model
    *each("model/forge.py", "backend.diffusion_engine.base", "ForgeDiffusionEngine", "model_config", F | NEO),
    *each("model/forge.py", "backend.patcher.base", "ModelPatcher", "lora_loader", F),
    *each("model/forge.py", "backend.patcher.lora", "LoraLoader", "loaded_hash", F),
    *each("model/forge.py", "backend.patcher.base", "ModelPatcher", "refresh_loras", F),
    *each("model/forge.py", "backend.patcher.base", "ModelPatcher", "patches_uuid", NEO),
    *each("lora_list.py", "modules.shared", "cmd_opts", "lora_dirs", NEO),
)
