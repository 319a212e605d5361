an editor's lock file is not read
