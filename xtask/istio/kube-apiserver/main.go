// A Kubernetes API server and its etcd in one process, for `cargo xtask istio`.
//
//	kube-apiserver FOLDER PORT
//
// It listens at https://127.0.0.1:PORT and keeps everything in FOLDER: the data of etcd, the certificate, the key that signs
// tokens of service accounts, and `kubeconfig` with the token of an administrator. There is no controller manager, no
// scheduler and no kubelet: objects are stored, checked against their schemas and watched, and nothing acts on them.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"log"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

// A client of the API server: it finds the certificate that the server makes at its first start.
const kubeconfig = `apiVersion: v1
kind: Config
clusters:
  - name: sidespan
    cluster: {server: "https://127.0.0.1:%s", certificate-authority: "%s"}
users:
  - name: admin
    user: {token: "%s"}
contexts:
  - name: sidespan
    context: {cluster: sidespan, user: admin}
current-context: sidespan
`

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: kube-apiserver FOLDER PORT")
	}
	folder, err := filepath.Abs(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	arguments, err := prepare(folder, os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	store, err := startEtcd(folder)
	if err != nil {
		log.Fatalf("etcd: %v", err)
	}
	command := app.NewAPIServerCommand()
	command.SetArgs(append(arguments, "--etcd-servers="+store))
	os.Exit(cli.Run(command))
}

// startEtcd returns the address of the store, a socket in the folder.
func startEtcd(folder string) (string, error) {
	config := embed.NewConfig()
	config.Dir = filepath.Join(folder, "etcd")
	config.LogLevel = "error"
	// What is stored is for one run: it need not outlive a power failure.
	config.UnsafeNoFsync = true
	client := url.URL{Scheme: "unix", Host: "etcd.sock:0"}
	peer := url.URL{Scheme: "unix", Host: "etcd-peer.sock:0"}
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return "", err
	}
	select {
	case <-etcd.Server.ReadyNotify():
		return client.String(), nil
	case err := <-etcd.Err():
		return "", err
	case <-time.After(time.Minute):
		return "", fmt.Errorf("not ready within a minute")
	}
}

// prepare writes keys, tokens and kubeconfig, and returns the arguments of the API server.
func prepare(folder, port string) ([]string, error) {
	at := func(name string) string { return filepath.Join(folder, name) }
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	// etcd makes its sockets in the working folder.
	if err := os.Chdir(folder); err != nil {
		return nil, err
	}
	if err := writeKey(at("service-account.key")); err != nil {
		return nil, err
	}
	secret := make([]byte, 16)
	if _, err := rand.Read(secret); err != nil {
		return nil, err
	}
	token := hex.EncodeToString(secret)
	if err := os.WriteFile(at("tokens.csv"), []byte(token+",admin,admin,system:masters\n"), 0o600); err != nil {
		return nil, err
	}
	client := fmt.Sprintf(kubeconfig, port, at("certificates/apiserver.crt"), token)
	if err := os.WriteFile(at("kubeconfig"), []byte(client), 0o600); err != nil {
		return nil, err
	}
	return []string{
		"--secure-port=" + port,
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		"--cert-dir=" + at("certificates"),
		"--token-auth-file=" + at("tokens.csv"),
		"--authorization-mode=AlwaysAllow",
		"--service-account-issuer=https://kubernetes.default.svc",
		// Proxies present tokens for istio-ca to istiod, which has the API server review them.
		"--api-audiences=istio-ca,https://kubernetes.default.svc",
		"--service-account-key-file=" + at("service-account.key"),
		"--service-account-signing-key-file=" + at("service-account.key"),
		"--service-cluster-ip-range=10.96.0.0/16",
		// It waits for service accounts that only a controller manager makes.
		"--disable-admission-plugins=ServiceAccount",
		"--endpoint-reconciler-type=none",
	}, nil
}

func writeKey(path string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}
