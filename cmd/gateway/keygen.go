package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"

	"gateway/internal/zmtp"
)

// keygen makes a CURVE key pair. It prints both keys, or writes them as czmq certificates: FILE with the public key,
// FILE_secret with both, readable by its owner alone.
func keygen(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("keygen", flag.ContinueOnError)
	file := flags.String("out", "", "write certificates to `FILE` and FILE_secret instead of printing")
	if code, stop := parseFlags(flags, args, stderr); stop {
		return code
	}
	pair, err := zmtp.GenerateKeyPair()
	if err == nil && *file != "" {
		err = writePair(*file, pair)
	}
	switch {
	case err != nil:
		fmt.Fprintf(stderr, "gateway keygen: %v\n", err)
		return exitError
	case *file != "":
		fmt.Fprintf(stdout, "%s has the public key: give it to the other side.\n%s_secret has both: keep it.\n", *file, *file)
	default:
		fmt.Fprintf(stdout, "public  %s\nsecret  %s\n", pair.Public, pair.Secret.Z85())
	}
	return exitOK
}

// writePair writes both certificates or none: one alone would be taken for the other half of what was there before.
func writePair(file string, pair zmtp.KeyPair) error {
	if err := writeNew(file, pair.PublicCertificate(), 0o644); err != nil {
		return err
	}
	if err := writeNew(file+"_secret", pair.SecretCertificate(), 0o600); err != nil {
		return errors.Join(err, os.Remove(file))
	}
	return nil
}

// writeNew writes a file that must not be there yet: a key that is in use is not overwritten.
func writeNew(name, text string, mode fs.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already; move it away first", name)
	}
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, text)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}
