"""Training of InSpatio-World and WorldFM with the networks, caches, samplers and scenes that inference uses.

    config.py       one YAML file of a stage, as typed settings
    draws.py        random numbers that depend on the step and the sample alone
    shards.py       encoded clips on disk, and the order in which training takes them
    augment.py      drop-outs, further holes and the noise of bad depth
    losses.py       flow matching, distribution matching: pure functions
    video.py        InSpatio-World's two passes: a clip at once (teacher), a block behind its context (student)
    rollout.py      the student's own clip, and its gradient block by block
    frames.py       WorldFM's passes
    stages/completion.py   the preview's own network, on views that its sessions would complete
    roles.py        networks in training: loaded, adapted (lora.py), averaged, and shared out (parallel.py)
    stages/         what one optimiser step computes, for each stage; setup.py makes the one of a config
    loop.py         steps, gradients, averages, held-out loss; checkpoint.py and log.py write what it does
    data/           clips, synthetic rooms and triples to shards (`inspatio train prepare`)

Sources are named where a value or a formula stands; docs/training.md tells the way from clips to a checkpoint.
"""
