"""Other loaders at the work of `launch.bench loader`; no file here imports anything of this project but `work`."""
