"""Small faithful fakes of the WebUIs' modules, so that the adapter's tests need no WebUI.

    def test_x(a1111):            # also: forge, reforge, classic (fixtures in tests/webui/conftest.py)
        made = a1111.txt2img("cat <lora:one:1>")          # through the host's own order of calls
        a1111.modules.networks.loaded_networks, a1111.sd_model, a1111.add_lora("two", lora_file)

While a fixture lives its modules are in `sys.modules` under the hosts' names (`modules.shared`, `networks` …), and
`torch.nn.Linear.forward` is patched as A1111's Lora extension patches it; afterwards everything is as before. The
fakes keep the names, signatures and order of calls of the hosts and little else; tests/webui/test_contracts.py compares
their signatures with a real host's sources where there are some.
"""
