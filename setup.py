"""Package metadata. Lower bounds, not pins; `constraints.txt` holds one tested set."""

from pathlib import Path

from setuptools import find_packages, setup

EXTRAS = {
    "demo": ["gradio>=6.31", "scikit-image>=0.22"],
    "data": ["supervision>=0.25"],
    "train": ["peft>=0.17", "tensorboard>=2.15", "matplotlib>=3.8"],
    "deepspeed": ["deepspeed>=0.18"],
    "eval": ["pycocoevalcap>=1.2", "matplotlib>=3.8", "scipy>=1.11"],
    "serve": [
        "fastapi>=0.115",
        "fastapi-offline>=1.7",
        "uvicorn>=0.30",
        "prometheus-client>=0.20",
        "llguidance>=1.0",
        "python-multipart>=0.0.9",
    ],
    "heic": ["pillow-heif>=0.16"],
    "ocr": ["rapidocr>=3.4"],
    "quantize": ["bitsandbytes>=0.50"],
    "test": [
        "bitsandbytes>=0.50",
        "pytest>=8",
        "ruff>=0.6",
        "mypy>=1.10",
        "types-PyYAML",
        "playwright>=1.45",
        "hypothesis>=6.100",
        "openai>=1.50",
        "scikit-image>=0.22",
        "pillow-heif>=0.16",
        "rapidocr>=3.4",
    ],
}

setup(
    name="gpt4roi",
    version="0.1.0",
    description="Draw boxes on a picture and talk about them: region-interactive visual chat",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["gpt4roi", "gpt4roi.*", "web_demo", "web_demo.*"]),
    package_data={"gpt4roi": ["assets/embedded/*", "evaluation/*.json"], "web_demo": ["static/*", "static/canvas/*"]},
    install_requires=[
        "torch>=2.6",
        "torchvision>=0.21",
        "transformers>=5.10",
        "accelerate>=1.0",
        "gguf>=0.10",
        "timm>=1.0",
        "safetensors>=0.4",
        "inflect>=7.0",
        "pyspellchecker>=0.8",
        "numpy>=1.26",
        "onnx>=1.18",
        "onnxruntime>=1.22",
        "pillow>=10.1",
        "opencv-python-headless>=4.9",
        "pycocotools>=2.0.8",
        "pydantic>=2.10",
        "pyyaml>=6",
        "jinja2>=3.1",
        "filelock>=3.12",
        "tqdm>=4.66",
    ],
    extras_require={**EXTRAS, "all": sorted({package for packages in EXTRAS.values() for package in packages})},
    entry_points={"console_scripts": ["gpt4roi=gpt4roi.cli:main"]},
)
