"""Web interfaces for image models (ComfyUI, A1111, …): their folders, and what lies beside a model. Pure."""
