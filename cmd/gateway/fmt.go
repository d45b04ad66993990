package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"gateway/internal/config"
)

// format is `gateway fmt`: it prints a configuration tidied, writes it back (-w), or says whether it is tidy (-check).
func format(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("fmt", flag.ContinueOnError)
	path := flags.String("config", configDefault, "the configuration `file` to format")
	checkOnly := flags.Bool("check", false, "write nothing; exit 1 if the file is not tidy")
	write := flags.Bool("w", false, "write the result to the file instead of printing it")
	if code, stop := parseFlags(flags, args, stderr); stop {
		return code
	}
	if *checkOnly && *write {
		fmt.Fprintln(stderr, "gateway fmt: -check writes nothing and -w writes: choose one.")
		return exitUsage
	}
	src, diags := config.ReadFile(*path)
	var tidy []byte
	if !diags.HasErrors() {
		tidy, diags = config.Format(*path, src)
	}
	if diags.HasErrors() {
		writeDiagnostics(diags, stderr)
		return exitError
	}
	var err error
	switch {
	case *checkOnly && !bytes.Equal(src, tidy):
		fmt.Fprintf(stderr, "%s is not tidy: gateway fmt -w -config %s tidies it.\n", *path, *path)
		return exitError
	case *checkOnly:
	case *write && !bytes.Equal(src, tidy):
		err = replaceFile(*path, tidy)
	case !*write:
		_, err = stdout.Write(tidy)
	}
	if err != nil {
		fmt.Fprintf(stderr, "gateway fmt: %v\n", err)
		return exitError
	}
	return exitOK
}

// replaceFile puts new content in a file's place all at once: a crash, a full disk or a gateway that reloads just now
// leaves or meets a whole file. A symbolic link stays one.
func replaceFile(path string, content []byte) (err error) {
	path, err = filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".gateway-fmt-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Name())
		}
	}()
	_, err = temp.Write(content)
	if err == nil {
		err = temp.Chmod(info.Mode().Perm())
	}
	if err == nil {
		err = temp.Sync()
	}
	if closeErr := temp.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", temp.Name(), err)
	}
	return os.Rename(temp.Name(), path)
}
