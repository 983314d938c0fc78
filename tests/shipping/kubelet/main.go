// Does what kubelet does before it pulls an image: reads a CredentialProviderConfig, runs the plugin for the image with a
// token of the pod's service account, and prints the credentials that it would pull with.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	authenticationv1 "k8s.io/api/authentication/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/credentialprovider/plugin"
)

type found struct {
	// The audience of the token that kubelet would ask the API server for.
	Audience    string       `json:"audience"`
	Credentials []credential `json:"credentials"`
}

type credential struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

func main() {
	if len(os.Args) != 4 {
		fail("usage: kubelet CONFIG FOLDER IMAGE, with the token in $TOKEN")
	}
	answer := found{Credentials: []credential{}}
	token := func(_, _ string, request *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
		answer.Audience = request.Spec.Audiences[0]
		request.Status.Token = os.Getenv("TOKEN")
		return request, nil
	}
	account := func(namespace, name string) (*v1.ServiceAccount, error) {
		return &v1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: "account"}}, nil
	}
	if err := plugin.RegisterCredentialProviderPlugins(os.Args[1], os.Args[2], token, account); err != nil {
		fail(err.Error())
	}
	// kubelet writes the reason why a plugin gave nothing to its log, which is standard error here.
	keyring := plugin.NewExternalCredentialProviderDockerKeyring("team-a", "app", "pod", "puller")
	credentials, _ := keyring.Lookup(os.Args[3])
	for _, one := range credentials {
		answer.Credentials = append(answer.Credentials, credential{one.Username, one.Password})
	}
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
		fail(err.Error())
	}
}

func fail(reason string) {
	fmt.Fprintln(os.Stderr, reason)
	os.Exit(1)
}
