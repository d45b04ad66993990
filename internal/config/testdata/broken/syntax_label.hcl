listen env("GATEWAY_TEST_UNSET") {}
