// What `cargo xtask image` and `cargo xtask istio` need of a registry.
//
//	image push LAYOUT REFERENCE    pushes the only image of an OCI image layout, prints its digest as the registry has it
//	image serve ADDRESS            runs a registry that keeps images in memory, until it is ended
//
// Credentials are those of `docker login`, helpers included. A registry on the local machine is spoken to in plain HTTP.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func main() {
	log.SetFlags(0)
	var err error
	switch {
	case len(os.Args) == 4 && os.Args[1] == "push":
		err = push(os.Args[2], os.Args[3])
	case len(os.Args) == 3 && os.Args[1] == "serve":
		err = serve(os.Args[2])
	default:
		err = fmt.Errorf("usage: image push LAYOUT REFERENCE | image serve ADDRESS")
	}
	if err != nil {
		log.Fatal(err)
	}
}

// push also reads the image back: every layer must have the digest and the size that the manifest says.
func push(folder, text string) error {
	reference, err := name.ParseReference(text)
	if err != nil {
		return err
	}
	index, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		return err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	if len(manifest.Manifests) != 1 {
		return fmt.Errorf("%s holds %d images instead of one", folder, len(manifest.Manifests))
	}
	pushed := manifest.Manifests[0].Digest
	image, err := index.Image(pushed)
	if err != nil {
		return err
	}
	credentials := remote.WithAuthFromKeychain(authn.DefaultKeychain)
	if err := remote.Write(reference, image, credentials); err != nil {
		return err
	}
	back, err := remote.Image(reference, credentials)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	if err := validate.Image(back); err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	digest, err := back.Digest()
	if err != nil {
		return err
	}
	if digest != pushed {
		return fmt.Errorf("the registry has %s at %s, pushed was %s", digest, reference, pushed)
	}
	fmt.Println(digest)
	return nil
}

func serve(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	return http.Serve(listener, registry.New(registry.Logger(log.New(os.Stderr, "", log.LstdFlags))))
}
