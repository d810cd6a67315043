"""The networks that the paper compares SPADE with (CRN, SIMS, pix2pixHD), and its ablations."""
