"""A tutorial's endpoint: eager torch, one image at a time."""

import io
import json
import os
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI, Request
from PIL import Image
from safetensors.torch import load_file
from torchvision import models, transforms

MODEL = Path(os.environ["BENCH_MODEL"])
CARD = json.loads((MODEL / "model.json").read_text())
SIZE = CARD["preparation"]["image_size"]

app = FastAPI()
network = models.get_model(CARD["network"], num_classes=len(CARD["classes"]))
network.load_state_dict(load_file(MODEL / "weights.safetensors"))
network.eval()
transform = transforms.Compose(
    [
        transforms.Resize((SIZE, SIZE)),
        transforms.Grayscale(3),
        transforms.ToTensor(),
        transforms.Normalize(CARD["preparation"]["mean"], CARD["preparation"]["std"]),
    ]
)


@app.post("/predict")
async def predict(request: Request) -> dict[str, Any]:
    image = Image.open(io.BytesIO(await request.body()))
    with torch.no_grad():
        probabilities = network(transform(image)[None]).softmax(1)[0]
    return {"label": CARD["classes"][int(probabilities.argmax())], "probability": float(probabilities.max())}


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["BENCH_PORT"]), log_level="warning")
