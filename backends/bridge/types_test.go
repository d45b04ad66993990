package bridge

import (
	"context"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

func TestNobodyWaitsForTypesLongerThanItWants(t *testing.T) {
	begun := make(chan struct{})
	types := Reflection(serveCalls(t, grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		close(begun)
		<-s.Context().Done() // it never answers
		return nil
	}))))
	patient, stop := context.WithCancel(t.Context())
	asked := make(chan error, 1)
	go func() {
		_, err := types(patient, "demo.v1.Greeter")
		asked <- err
	}()
	<-begun
	impatient, gone := context.WithCancel(t.Context())
	gone()
	_, err := types(impatient, "demo.v1.Greeter")
	wantCode(t, err, codes.Canceled, "")
	select {
	case err := <-asked:
		t.Errorf("the first was answered: %v", err)
	default:
	}
	stop()
	<-asked
}
