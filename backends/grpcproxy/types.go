package grpcproxy

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	reflectv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

const (
	// typesAgain is how long a method stays unknown before the backends are asked again.
	typesAgain = time.Minute
	// typesMax bounds the methods that are remembered; callers choose their names.
	typesMax = 1000
	// typeFilesMax bounds the files that one method may need.
	typeFilesMax = 200
)

// types tells the type of a method's answers: from a descriptor set, or by the backends' reflection.
type types struct {
	set *protoregistry.Files // nil: ask

	mu    sync.Mutex
	known map[string]known
}

// known is what is known of a method.
type known struct {
	output protoreflect.MessageDescriptor // nil: nothing is
	at     time.Time
}

// init reads a FileDescriptorSet; "": there is none.
func (t *types) init(set string) error {
	t.known = map[string]known{}
	if set == "" {
		return nil
	}
	var files descriptorpb.FileDescriptorSet
	err := proto.Unmarshal([]byte(set), &files)
	if err == nil {
		t.set, err = protodesc.NewFiles(&files)
	}
	if err != nil {
		return fmt.Errorf("the descriptors are no FileDescriptorSet that is whole (protoc --include_imports --descriptor_set_out): %w", err)
	}
	return nil
}

// output returns nil when nobody knows.
func (t *types) output(ctx context.Context, method string, backends ...*backend) protoreflect.MessageDescriptor {
	t.mu.Lock()
	have, found := t.known[method]
	t.mu.Unlock()
	if found && (have.output != nil || time.Since(have.at) < typesAgain) {
		return have.output
	}
	have = known{at: time.Now()}
	service, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	if t.set != nil {
		have.output = outputOf(t.set, service, name)
	} else {
		for _, be := range backends {
			if files, err := be.files(ctx, service); err == nil && have.output == nil {
				have.output = outputOf(files, service, name)
			}
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.known) >= typesMax {
		clear(t.known)
	}
	t.known[method] = have
	return have.output
}

func outputOf(files *protoregistry.Files, service, method string) protoreflect.MessageDescriptor {
	d, err := files.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		return nil
	}
	s, ok := d.(protoreflect.ServiceDescriptor)
	if !ok {
		return nil
	}
	if m := s.Methods().ByName(protoreflect.Name(method)); m != nil {
		return m.Output()
	}
	return nil
}

// files asks the backend for a service's file and all that it imports.
func (be *backend) files(ctx context.Context, service string) (*protoregistry.Files, error) {
	got := map[string]*descriptorpb.FileDescriptorProto{}
	ask := func(q *question) error {
		a, err := be.reflect(ctx, q)
		if err != nil {
			return err
		}
		if e := a.GetErrorResponse(); e != nil {
			return fmt.Errorf("backend %q: reflection: %s", be.Name, e.ErrorMessage)
		}
		for _, text := range a.GetFileDescriptorResponse().GetFileDescriptorProto() {
			var f descriptorpb.FileDescriptorProto
			if err := proto.Unmarshal(text, &f); err != nil {
				return fmt.Errorf("backend %q: reflection: %w", be.Name, err)
			}
			got[f.GetName()] = &f
		}
		return nil
	}
	err := ask(&question{MessageRequest: &reflectv1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: service}})
	for err == nil {
		missing := missingImport(got)
		if missing == "" {
			break
		}
		if err = ask(&question{MessageRequest: &reflectv1.ServerReflectionRequest_FileByFilename{FileByFilename: missing}}); err == nil && (got[missing] == nil || len(got) > typeFilesMax) {
			err = fmt.Errorf("backend %q: reflection tells no %s", be.Name, missing)
		}
	}
	if err != nil {
		return nil, err
	}
	set := &descriptorpb.FileDescriptorSet{}
	for _, f := range got {
		set.File = append(set.File, f)
	}
	return protodesc.NewFiles(set)
}

func missingImport(files map[string]*descriptorpb.FileDescriptorProto) string {
	for _, f := range files {
		for _, name := range f.GetDependency() {
			if files[name] == nil {
				return name
			}
		}
	}
	return ""
}
