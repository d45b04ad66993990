package grpcproxy

// Server reflection that merges what the backends tell: each question is passed on, the first that knows an answer is
// believed, lists are united. Backends that have no reflection are left out.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	reflectv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectv1alpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// reflectWait is how long one backend has for one question.
const reflectWait = 2 * time.Second

type (
	question = reflectv1.ServerReflectionRequest
	answer   = reflectv1.ServerReflectionResponse
)

type reflection struct {
	reflectv1.UnimplementedServerReflectionServer
	proxy *Proxy
}

// ServerReflectionInfo answers one question after the other.
func (r reflection) ServerReflectionInfo(stream reflectv1.ServerReflection_ServerReflectionInfoServer) error {
	for {
		q, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(r.answer(stream.Context(), q)); err != nil {
			return err
		}
	}
}

func (r reflection) answer(ctx context.Context, q *question) *answer {
	a := r.merged(ctx, q)
	a.ValidHost, a.OriginalRequest = q.Host, q
	return a
}

func (r reflection) merged(ctx context.Context, q *question) *answer {
	services := []string{healthpb.Health_ServiceDesc.ServiceName, reflectv1.ServerReflection_ServiceDesc.ServiceName}
	_, list := q.MessageRequest.(*reflectv1.ServerReflectionRequest_ListServices)
	if a := ownFile(q); a != nil {
		return a
	}
	r.proxy.mu.Lock()
	backends := r.proxy.backends
	r.proxy.mu.Unlock()
	for _, be := range backends {
		a, err := be.reflect(ctx, q)
		if err != nil || a.GetErrorResponse() != nil {
			continue
		}
		if !list {
			return a
		}
		for _, s := range a.GetListServicesResponse().GetService() {
			services = append(services, s.Name)
		}
	}
	if !list {
		return &answer{MessageResponse: &reflectv1.ServerReflectionResponse_ErrorResponse{ErrorResponse: &reflectv1.ErrorResponse{
			ErrorCode: int32(codes.NotFound), ErrorMessage: "no backend knows it",
		}}}
	}
	slices.Sort(services)
	all := &reflectv1.ListServiceResponse{}
	for _, name := range slices.Compact(services) {
		all.Service = append(all.Service, &reflectv1.ServiceResponse{Name: name})
	}
	return &answer{MessageResponse: &reflectv1.ServerReflectionResponse_ListServicesResponse{ListServicesResponse: all}}
}

// ownFile answers for the gateway's own services; nil: the question is for the backends.
func ownFile(q *question) *answer {
	var file protoreflect.FileDescriptor
	switch m := q.MessageRequest.(type) {
	case *reflectv1.ServerReflectionRequest_FileContainingSymbol:
		name := protoreflect.FullName(m.FileContainingSymbol)
		if d, err := protoregistry.GlobalFiles.FindDescriptorByName(name); err == nil {
			file = d.ParentFile()
		}
	case *reflectv1.ServerReflectionRequest_FileByFilename:
		file, _ = protoregistry.GlobalFiles.FindFileByPath(m.FileByFilename) // nil when it is not ours
	}
	if file == nil || !ownFiles[file.Path()] {
		return nil
	}
	text, err := proto.Marshal(protodesc.ToFileDescriptorProto(file))
	if err != nil {
		return nil // cannot be: it is compiled in
	}
	return &answer{MessageResponse: &reflectv1.ServerReflectionResponse_FileDescriptorResponse{
		FileDescriptorResponse: &reflectv1.FileDescriptorResponse{FileDescriptorProto: [][]byte{text}},
	}}
}

// ownFiles are those of the gateway's own services.
var ownFiles = map[string]bool{
	healthpb.File_grpc_health_v1_health_proto.Path():                    true,
	reflectv1.File_grpc_reflection_v1_reflection_proto.Path():           true,
	reflectv1alpha.File_grpc_reflection_v1alpha_reflection_proto.Path(): true,
}

// reflect asks the backend, by v1 or else by v1alpha, which are the same on the wire.
func (be *backend) reflect(ctx context.Context, q *question) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, reflectWait)
	defer cancel()
	conn, err := be.client()
	if err != nil {
		return nil, err
	}
	a := new(answer)
	for _, method := range []string{
		reflectv1.ServerReflection_ServerReflectionInfo_FullMethodName, reflectv1alpha.ServerReflection_ServerReflectionInfo_FullMethodName,
	} {
		stream, err := conn.NewStream(ctx, &reflectv1.ServerReflection_ServiceDesc.Streams[0], method)
		if err != nil {
			return nil, err
		}
		if stream.SendMsg(q) == nil { // where it fails, RecvMsg says why
			_ = stream.CloseSend()
		}
		if err = stream.RecvMsg(a); err == nil {
			return a, nil
		}
		if status.Code(err) != codes.Unimplemented {
			return nil, fmt.Errorf("backend %q: reflection: %w", be.Name, err)
		}
	}
	return nil, fmt.Errorf("backend %q has no server reflection", be.Name)
}

// reflectionAlpha is reflection under its older name.
type reflectionAlpha struct {
	reflectv1alpha.UnimplementedServerReflectionServer
	reflection reflection
}

// ServerReflectionInfo answers one question after the other.
func (r reflectionAlpha) ServerReflectionInfo(stream reflectv1alpha.ServerReflection_ServerReflectionInfoServer) error {
	for {
		q := new(question)
		if err := stream.RecvMsg(q); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := stream.SendMsg(r.reflection.answer(stream.Context(), q)); err != nil {
			return err
		}
	}
}
