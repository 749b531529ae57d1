"""What pyproject.toml cannot say: a package also holds the page's style and scripts, which a WebUI reads at the top."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class WithPage(build_py):
    """Copies style.css and javascript/ into the package, where `lib_lora.web.routes` looks first."""

    def run(self) -> None:
        """Copy the package, then the page's files."""
        super().run()
        page = Path(self.build_lib, "lib_lora", "web", "page")
        page.mkdir(parents=True, exist_ok=True)
        for file in (ROOT / "style.css", *sorted((ROOT / "javascript").glob("*.js"))):
            self.copy_file(str(file), str(page / file.name))


setup(cmdclass={"build_py": WithPage})
