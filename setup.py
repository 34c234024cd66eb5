"""Install configs/ and traj/ inside the package, beside which they lie in the repository, and the live world's page."""

from setuptools import find_packages, setup

SHIPPED = {"inspatio.configs": "configs", "inspatio.traj": "traj"}

setup(
    packages=[*find_packages(include=["inspatio*"]), *SHIPPED],
    package_dir=SHIPPED,
    package_data={name: ["*.yaml", "*.txt", "train/*.yaml"] for name in SHIPPED} | {"inspatio.live": ["static/*"]},
)
