"""Training curves where the padding token occurs in the data: testdata/trainmore/padding-*/.

	python testdata/gen/padding.py

transformers gives nn.Embedding the model's pad_token_id as padding_idx: that row
gets no gradient from the embedding, though a tied head still gives it one. The
bases testdata/families/padding-{untied,tied} are llama/mha and llama/gqa-tied with
a pad_token_id that the lines hold, as instruction models have their end of turn.
"""

import golden  # first: it mends sys.path

import json
import shutil
import warnings

import loramore_train as lt
import train

PAD = 9


def base(name, source):
    dir = golden.ROOT / "families" / name
    shutil.rmtree(dir, ignore_errors=True)
    dir.mkdir()
    config = json.loads((golden.ROOT / source / "config.json").read_text())
    (dir / "config.json").write_text(json.dumps(config | dict(pad_token_id=PAD), indent=2, sort_keys=True) + "\n")
    shutil.copy(golden.ROOT / source / "model.safetensors", dir)
    return f"families/{name}"


def main():
    golden.setup(lt.SEED)
    warnings.simplefilter("ignore")
    for d in lt.OUT.glob("padding-*"):
        shutil.rmtree(d)
    untied, tied = base("padding-untied", "llama/mha"), base("padding-tied", "llama/gqa-tied")
    lines = train.lines(77, 9, 6, 20, 96)
    for i, line in enumerate(lines):  # the padding token at the end, as an end of turn, and inside
        line["input_ids"][-1] = PAD
        line["input_ids"][i % 5 + 1] = PAD
        line.pop("labels", None)
    train.lines = lambda *_: lines  # what case() trains on
    over = dict(data=())
    lt.case("padding-full", untied, "the padding token's row moves by weight decay alone", method="full", lr=1e-3, weight_decay=0.1, **over)
    lt.case("padding-full-tied", tied, "through a tied head it still gets a gradient", method="full", lr=1e-3, **over)
    lt.case("padding-embed", untied, "LoRA on the embedding", lora=lt.lora("embed_tokens", "q_proj"), **over)
    lt.case("padding-tokens", untied, "its row is one of the trained ones", lora=lt.lora("q_proj", trainable_token_indices=[3, PAD, 50]), **over)
    lt.case("padding-save", untied, "the embedding saved whole", lora=lt.lora("q_proj", modules_to_save=["embed_tokens"]), **over)


if __name__ == "__main__":
    main()
