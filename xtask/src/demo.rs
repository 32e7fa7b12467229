//! The main job, on a network of three real nodes and on real data: the packages that cargo downloaded to build Adit.
