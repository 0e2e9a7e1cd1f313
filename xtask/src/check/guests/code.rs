//! The functions of a guest's image: how deep each takes the stack, and whom it calls from which
//! depth.
//!
//! Nothing but the code says where functions are in an image without symbols: what is called, and
//! what has its address taken. Within a function the stack pointer is followed through each branch.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};

/// What Rust moves the stack pointer by at most without touching what is there: a page, or the
/// guard could be jumped over.
const STEP: i64 = 4096;

const RETURN_ADDRESS: i64 = 8;

/// The code of an image.
#[derive(Debug)]
pub(super) struct Code {
    start: u64,
    bytes: Vec<u8>,
    data_start: u64,
    data: Vec<u8>,
    pub(super) entry: u64,
    names: BTreeMap<u64, String>,
}

/// Where a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Callee {
    At(u64),
    /// Through a pointer.
    Pointer,
    /// Into Xen's page.
    Hypercall,
}

/// A function.
#[derive(Debug, Default)]
pub(super) struct Function {
    /// How far it takes the stack pointer down itself, in bytes.
    pub(super) frame: i64,
    /// Whom it calls, and how deep the stack is when the callee begins.
    pub(super) calls: BTreeMap<Callee, i64>,
}

impl Code {
    pub(super) fn read(image: &[u8]) -> Result<Code> {
        let file = object::File::parse(image).context("not an ELF file")?;
        let section = |name: &str| {
            let section =
                file.section_by_name(name).with_context(|| format!("no section {name}"))?;
            anyhow::Ok((section.address(), section.data()?.to_vec()))
        };
        let ((start, bytes), (data_start, data)) = (section(".text")?, section(".data")?);
        let functions = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text);
        let names = functions
            .filter_map(|symbol| Some((symbol.address(), symbol.name().ok()?.to_owned())))
            .collect();
        Ok(Code { start, bytes, data_start, data, entry: file.entry(), names })
    }

    /// A function's name, or its address where the image has no symbols.
    pub(super) fn name(&self, at: u64) -> String {
        self.names.get(&at).cloned().unwrap_or_else(|| format!("{at:#x}"))
    }

    /// The functions by their addresses, and those whose address is taken.
    pub(super) fn functions(&self) -> Result<(BTreeMap<u64, Function>, BTreeSet<u64>)> {
        let pointers = self.pointers();
        let mut starts: BTreeSet<u64> = self.names.keys().copied().collect();
        starts.extend(&pointers);
        starts.extend([self.start, self.entry]);
        // What is found may begin in the middle of what was taken for one function: once more.
        loop {
            let mut functions = BTreeMap::new();
            let mut found = starts.clone();
            for (index, &at) in starts.iter().enumerate() {
                let end = starts.iter().nth(index + 1).copied().unwrap_or(self.end());
                let function = Walk::new(self, at, end).function();
                let function = function.with_context(|| format!("in {}", self.name(at)))?;
                let called = function.calls.keys().filter_map(|callee| match callee {
                    Callee::At(at) => Some(*at),
                    _ => None,
                });
                found.extend(called);
                functions.insert(at, function);
            }
            if found.len() == starts.len() {
                return Ok((functions, pointers));
            }
            starts = found;
        }
    }

    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    fn holds(&self, address: u64) -> bool {
        (self.start..self.end()).contains(&address)
    }

    /// Addresses of code in the data, and those that the code itself loads.
    fn pointers(&self) -> BTreeSet<u64> {
        let in_data = self.data.chunks_exact(8).filter_map(|word| word.try_into().ok());
        let in_code = self.decode(self.start, self.end()).into_iter().filter_map(|instruction| {
            let loads =
                instruction.mnemonic() == Mnemonic::Lea && instruction.is_ip_rel_memory_operand();
            loads.then(|| instruction.ip_rel_memory_address())
        });
        in_data.map(u64::from_le_bytes).chain(in_code).filter(|at| self.holds(*at)).collect()
    }

    /// The pointer in the data at `address`.
    fn pointer(&self, address: u64) -> Option<u64> {
        let at = usize::try_from(address.checked_sub(self.data_start)?).ok()?;
        Some(u64::from_le_bytes(self.data.get(at..at + 8)?.try_into().ok()?))
    }

    fn decode(&self, from: u64, to: u64) -> Vec<Instruction> {
        let index = |at: u64| usize::try_from(at - self.start).unwrap_or(usize::MAX);
        let bytes = self.bytes.get(index(from)..index(to)).unwrap_or_default();
        Decoder::with_ip(64, bytes, from, DecoderOptions::NONE).into_iter().collect()
    }
}

/// How deep the stack is at an instruction, in bytes below the return address.
#[derive(Debug, Clone, Copy, Default)]
struct Depth {
    now: i64,
    /// What the frame pointer points to, once it does.
    frame_pointer: Option<i64>,
    /// How deep the loop goes that touches the pages of a large frame.
    touched: Option<i64>,
}

/// A walk through one function, by all its branches.
#[derive(Debug)]
struct Walk<'a> {
    code: &'a Code,
    instructions: Vec<Instruction>,
    depths: Vec<Option<Depth>>,
    /// Where to go on.
    open: Vec<(usize, Depth)>,
    /// At a jump through a table.
    at_table: Option<Depth>,
    function: Function,
}

impl<'a> Walk<'a> {
    fn new(code: &'a Code, at: u64, end: u64) -> Walk<'a> {
        let instructions = code.decode(at, end);
        Walk {
            code,
            depths: vec![None; instructions.len()],
            instructions,
            open: vec![(0, Depth::default())],
            at_table: None,
            function: Function::default(),
        }
    }

    fn function(mut self) -> Result<Function> {
        loop {
            while let Some((index, depth)) = self.open.pop() {
                self.go_on(index, depth)?;
            }
            // What no branch has led to is a table's target.
            let padding = |instruction: &Instruction| {
                matches!(instruction.mnemonic(), Mnemonic::Int3 | Mnemonic::Nop | Mnemonic::Ud2)
            };
            let left = self.instructions.iter().zip(&self.depths);
            let left = left
                .enumerate()
                .find(|(_, (instruction, depth))| depth.is_none() && !padding(instruction));
            let (Some(depth), Some((index, _))) = (self.at_table, left) else {
                return Ok(self.function);
            };
            self.open.push((index, depth));
        }
    }

    fn go_on(&mut self, mut index: usize, mut depth: Depth) -> Result<()> {
        while let Some(instruction) = self.instructions.get(index).copied() {
            if self.depths[index].replace(depth).is_some() {
                return Ok(());
            }
            self.follow_stack(&instruction, &mut depth)
                .with_context(|| format!("{:#x}", instruction.ip()))?;
            self.function.frame = self.function.frame.max(depth.now);
            match instruction.flow_control() {
                FlowControl::ConditionalBranch => self.jump(&instruction, depth),
                FlowControl::UnconditionalBranch => {
                    self.jump(&instruction, depth);
                    return Ok(());
                }
                FlowControl::IndirectBranch => {
                    match self.through_pointer(&instruction) {
                        Callee::Pointer if depth.now != 0 => self.at_table = Some(depth),
                        callee => self.call(callee, depth.now),
                    }
                    return Ok(());
                }
                FlowControl::Call | FlowControl::IndirectCall => {
                    let callee = match instruction.flow_control() {
                        FlowControl::Call => self.target(instruction.near_branch_target()),
                        _ => self.through_pointer(&instruction),
                    };
                    self.call(callee, depth.now + RETURN_ADDRESS);
                }
                FlowControl::Next => {}
                _ => return Ok(()),
            }
            index += 1;
        }
        Ok(())
    }

    fn jump(&mut self, instruction: &Instruction, depth: Depth) {
        let to = instruction.near_branch_target();
        match self.instructions.binary_search_by_key(&to, Instruction::ip) {
            Ok(index) => self.open.push((index, depth)),
            Err(_) => self.call(self.target(to), depth.now),
        }
    }

    fn call(&mut self, callee: Callee, depth: i64) {
        let known = self.function.calls.entry(callee).or_default();
        *known = depth.max(*known);
    }

    fn target(&self, at: u64) -> Callee {
        if self.code.holds(at) { Callee::At(at) } else { Callee::Hypercall }
    }

    /// A call or jump by a pointer: known where that is a constant, in the global offset table.
    fn through_pointer(&self, instruction: &Instruction) -> Callee {
        let constant = instruction.is_ip_rel_memory_operand();
        match self.code.pointer(instruction.memory_displacement64()).filter(|_| constant) {
            Some(at) => self.target(at),
            None => Callee::Pointer,
        }
    }

    /// What an instruction does to the stack pointer.
    fn follow_stack(&self, instruction: &Instruction, depth: &mut Depth) -> Result<()> {
        let (to, from) = (instruction.op0_register(), instruction.op1_register());
        let number = || match instruction.op1_kind() {
            OpKind::Immediate8to64 | OpKind::Immediate32to64 => {
                Some(instruction.immediate(1).cast_signed())
            }
            _ => None,
        };
        let above = |base| {
            let offset = instruction.memory_displacement64().cast_signed();
            (instruction.memory_base() == base && instruction.memory_index() == Register::None)
                .then_some(offset)
        };
        match (instruction.mnemonic(), to, from) {
            (Mnemonic::Sub, Register::RSP, _) => {
                let step = number().context("a frame of a size that the code computes")?;
                ensure!(step <= STEP, "{step} bytes in one step could jump over the guard");
                depth.now += step;
            }
            (Mnemonic::Add, Register::RSP, _) => {
                depth.now -= number().context("a frame of a size that the code computes")?;
            }
            (Mnemonic::And, Register::RSP, _) => depth.now += 16,
            (Mnemonic::Mov, Register::RBP, Register::RSP) => {
                depth.frame_pointer = Some(depth.now);
            }
            (Mnemonic::Mov, Register::R11, Register::RSP) => depth.touched = Some(depth.now),
            (Mnemonic::Sub, Register::R11, _) => {
                depth.touched = depth.touched.zip(number()).map(|(touched, by)| touched + by);
            }
            (Mnemonic::Cmp, Register::RSP, Register::R11) => {
                depth.now = depth.touched.context("a loop over an unknown frame")?;
            }
            (Mnemonic::Lea, Register::R11, _) => {
                depth.touched = above(Register::RSP).map(|offset| depth.now - offset);
            }
            (Mnemonic::Lea, Register::RSP, _) => {
                depth.now = match (above(Register::RSP), above(Register::RBP)) {
                    (Some(offset), _) => depth.now - offset,
                    (_, Some(offset)) => {
                        depth.frame_pointer.context("an unknown frame pointer")? - offset
                    }
                    // The entry, which takes the stack's top.
                    _ if instruction.is_ip_rel_memory_operand() => 0,
                    _ => bail!("an unknown stack pointer"),
                };
            }
            (Mnemonic::Mov, Register::RSP, Register::RBP) => {
                depth.now = depth.frame_pointer.context("an unknown frame pointer")?;
            }
            (Mnemonic::Leave, _, _) => {
                depth.now = depth.frame_pointer.context("an unknown frame pointer")? - 8;
            }
            (_, Register::RSP, _)
                if instruction.op0_kind() == OpKind::Register
                    && !matches!(
                        instruction.mnemonic(),
                        Mnemonic::Push | Mnemonic::Test | Mnemonic::Cmp
                    ) =>
            {
                bail!("the stack pointer from elsewhere")
            }
            _ if instruction.flow_control() == FlowControl::Next => {
                depth.now -= i64::from(instruction.stack_pointer_increment());
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 0x5000;

    /// Code at `START`, and pointers at 0x9000.
    fn code(bytes: &[u8], pointers: &[u64]) -> Code {
        Code {
            start: START,
            bytes: bytes.to_vec(),
            data_start: 0x9000,
            data: pointers.iter().flat_map(|pointer| pointer.to_le_bytes()).collect(),
            entry: START,
            names: BTreeMap::new(),
        }
    }

    fn first(bytes: &[u8]) -> Function {
        code(bytes, &[]).functions().unwrap().0.remove(&START).unwrap()
    }

    #[test]
    fn frames_are_pushes_and_steps() {
        // push rbp; push rbx; sub rsp, 0x28; add rsp, 0x28; pop rbx; pop rbp; ret
        let function = first(b"\x55\x53\x48\x83\xec\x28\x48\x83\xc4\x28\x5b\x5d\xc3");
        assert_eq!(function.frame, 0x38);
    }

    #[test]
    fn calls_are_seen_on_each_branch() {
        // push rax; test edi, edi; je +6; call +0x20; ret; sub rsp, 8; jmp to 0x5040
        let mut bytes = b"\x50\x85\xff\x74\x06\xe8\x20\x00\x00\x00\xc3".to_vec();
        bytes.extend(b"\x48\x83\xec\x08\xe9\x2c\x00\x00\x00");
        bytes.resize(0x48, 0xcc);
        bytes[0x2a] = 0xc3;
        bytes[0x40] = 0xc3;
        let function = first(&bytes);
        let calls: Vec<_> = function.calls.into_iter().collect();
        assert_eq!(calls, [(Callee::At(START + 0x2a), 16), (Callee::At(START + 0x40), 16)]);
    }

    #[test]
    fn a_large_frame_is_touched_page_by_page() {
        // lea r11, [rsp - 0x5000]; sub rsp, 0x1000; mov [rsp], 0; cmp rsp, r11; jne -0x14;
        // sub rsp, 0x80; ret
        let bytes = b"\x4c\x8d\x9c\x24\x00\xb0\xff\xff\x48\x81\xec\x00\x10\x00\x00\
            \x48\xc7\x04\x24\x00\x00\x00\x00\x4c\x39\xdc\x75\xec\
            \x48\x81\xec\x80\x00\x00\x00\xc3";
        assert_eq!(first(bytes).frame, 0x5080);
        // sub rsp, 0x2000
        let error = code(b"\x48\x81\xec\x00\x20\x00\x00\xc3", &[]).functions().unwrap_err();
        assert!(format!("{error:#}").contains("8192 bytes in one step"), "{error:#}");
    }

    #[test]
    fn what_a_table_leads_to_counts() {
        // push rax; jmp rcx; sub rsp, 0x10; ret
        assert_eq!(first(b"\x50\xff\xe1\x48\x83\xec\x10\xc3").frame, 0x18);
    }

    #[test]
    fn pointers_that_are_constants_are_known() {
        // call [rip + 0x3ffa] (0x9000); call rax; ret; int3; ret
        let bytes = b"\xff\x15\xfa\x3f\x00\x00\xff\xd0\xc3\xcc\xc3";
        let (functions, pointers) = code(bytes, &[START + 10]).functions().unwrap();
        assert_eq!(pointers, BTreeSet::from([START + 10]));
        let calls: Vec<_> = functions[&START].calls.keys().copied().collect();
        assert_eq!(calls, [Callee::At(START + 10), Callee::Pointer]);
    }
}
