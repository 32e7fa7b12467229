;; expect: limit-fuel limit-host-work trap
;; Asks for a megabyte of randomness for ever.
(module
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (memory (export "memory") 32)
  (func (export "_start")
    (loop $again (drop (call $random (i32.const 0) (i32.const 1048576))) (br $again))))
