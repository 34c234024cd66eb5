"""From clips, synthetic rooms and triples to shards of latents: `inspatio train prepare`."""
